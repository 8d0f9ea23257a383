DROP FUNCTION {schema}.strunk_schema_put, {schema}.strunk_schema_lock, {schema}.strunk_schema_parts;
DROP TABLE {schema}.strunk_schema_subjects, {schema}.strunk_schemas;
