DROP FUNCTION {schema}.strunk_take_share, {schema}.strunk_call_lines, {schema}.strunk_call_keys, {schema}.strunk_claim_line, {schema}.strunk_call,
    {schema}.strunk_declare_limits, {schema}.strunk_set_limits, {schema}.strunk_has_turn, {schema}.strunk_lock_line;
DROP TABLE {schema}.strunk_rates;
