-- The registry of schemas.

-- A version as four numbers.
CREATE OR REPLACE FUNCTION {schema}.strunk_schema_parts(p_version text) RETURNS bigint[]
LANGUAGE sql IMMUTABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT (string_to_array(p_version, '.')::bigint[] || '{0,0,0,0}'::bigint[])[1:4]
$$;

-- Locks a subject until the transaction ends, against others that register: the lock is taken by
-- the subject's name, since there may be no row yet. What is read in a later statement is then the
-- whole history. The transaction must not outlive the process that holds it.
CREATE OR REPLACE FUNCTION {schema}.strunk_schema_lock(p_subject text) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('idle_in_transaction_session_timeout', '60s', true);
    PERFORM pg_advisory_xact_lock(hashtextextended(p_subject, '{schema}.strunk_schemas'::regclass::oid::bigint));
END $$;

-- Adds a version under the subject's lock, which the caller holds, and has compared it; one that is
-- there stays as it is. Sets how versions that come later are compared.
CREATE OR REPLACE FUNCTION {schema}.strunk_schema_put(p_subject text, p_version text, p_document text, p_mode text,
    p_strict boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO {schema}.strunk_schemas (subject, version, parts, document)
    VALUES (p_subject, p_version, {schema}.strunk_schema_parts(p_version), p_document::json)
    ON CONFLICT (subject, parts) DO NOTHING;
    INSERT INTO {schema}.strunk_schema_subjects AS s (subject, mode, strict) VALUES (p_subject, p_mode, p_strict)
    ON CONFLICT (subject) DO UPDATE SET mode = excluded.mode, strict = excluded.strict, updated_at = clock_timestamp()
    WHERE (s.mode, s.strict) <> (excluded.mode, excluded.strict);
END $$;
