-- A PostgreSQL user of its own for the agent, that can rewrite no evidence. As the tables' owner:
--   psql --set=role=martensight_agent --file=postgresql-role.sql DATABASE
-- Run it again after each upgrade of the schema: the agent cannot upgrade it by itself any more.
-- Row-level security holds the sites of a shared database apart for this user (agent doctor says so).
-- It binds no superuser and nobody with BYPASSRLS, so give the role neither; the owner is bound too.
GRANT USAGE ON SCHEMA public TO :role;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO :role;
GRANT DELETE ON content TO :role;  -- a renamed file is one with what it was
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO :role;
REVOKE UPDATE ON trail, label, record, promotion, specification, night, rating,
  needle_field, statement, statement_file, alembic_version FROM :role;
REVOKE INSERT ON alembic_version FROM :role;
-- Accounts are made and changed with the owner's address; a page counts wrong passwords and ends log-ins, an operator disables.
REVOKE INSERT, UPDATE ON account FROM :role;
GRANT UPDATE (failures, locked_until, logins_since, disabled_at) ON account TO :role;
REVOKE UPDATE ON login FROM :role;
GRANT UPDATE (seen_at, ended_at) ON login TO :role;
ALTER ROLE :role SET search_path = public;  -- agent verify names another one
