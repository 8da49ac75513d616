-- The database and who may do what in it; once, by a member of the administrators' group. docs/deployment.md has the command.
--
-- Three roles that nobody logs in as. The schema belongs to `casevault`: the administrators act as it in this database, so that
-- whoever brings the schema to a newer version leaves nothing behind that the others may not use. The API and the clock have the
-- rights of `casevault_api` and `casevault_clock`, which `casevault init` gives table by table (retention/records/rights.py).
-- Variables: api, clock, administrators: the names of the roles, which must be there.

\set ON_ERROR_STOP on

CREATE ROLE casevault NOLOGIN;
CREATE ROLE casevault_api NOLOGIN;
CREATE ROLE casevault_clock NOLOGIN;
GRANT casevault TO :"administrators";
GRANT casevault_api TO :"api";
GRANT casevault_clock TO :"clock";
CREATE DATABASE casevault OWNER casevault TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
REVOKE ALL ON DATABASE casevault FROM PUBLIC;
GRANT CONNECT ON DATABASE casevault TO casevault_api, casevault_clock;
ALTER ROLE :"administrators" IN DATABASE casevault SET role = 'casevault';
