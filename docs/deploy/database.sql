-- The database and who it belongs to; once, by a member of the administrators' group. docs/deployment.md has the command.
--
-- The schema belongs to the role `casevault`, which nobody logs in as. The API, the clock and the administrators each act as it
-- in this database, so that whoever brings the schema to a newer version leaves nothing behind that the others may not use.
-- Variables: api, clock, administrators: the names of the roles, which must be there.

\set ON_ERROR_STOP on

CREATE ROLE casevault NOLOGIN;
GRANT casevault TO :"api", :"clock", :"administrators";
CREATE DATABASE casevault OWNER casevault TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
REVOKE ALL ON DATABASE casevault FROM PUBLIC;
ALTER ROLE :"api" IN DATABASE casevault SET role = 'casevault';
ALTER ROLE :"clock" IN DATABASE casevault SET role = 'casevault';
ALTER ROLE :"administrators" IN DATABASE casevault SET role = 'casevault';
