-- The inbox: messages that a consumer has handled.

-- Marks a message as handled by a consumer; false where it was before. Waits for a transaction that is marking the same
-- message: if that commits the answer is false, else true.
CREATE OR REPLACE FUNCTION {schema}.strunk_inbox_mark(p_consumer text, p_message text, p_task bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO {schema}.strunk_inbox (consumer, message_id, task_id) VALUES (p_consumer, p_message, p_task)
        ON CONFLICT DO NOTHING;
    RETURN FOUND;
END $$;

-- Whether a consumer has handled a message. Reads only.
CREATE OR REPLACE FUNCTION {schema}.strunk_inbox_marked(p_consumer text, p_message text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT 1 FROM {schema}.strunk_inbox i WHERE i.consumer = p_consumer AND i.message_id = p_message)
$$;
