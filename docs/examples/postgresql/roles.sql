-- The database and its two roles. Once, as a superuser:
--
--   psql -v ON_ERROR_STOP=1 --dbname=postgres --file=roles.sql
--
-- billy_owner owns the tables; only `billy init-db` logs in as it. billy is for servers, schedulers and all other
-- commands: it reads, inserts and updates. It cannot delete a record, nor drop or alter a table.
-- Other names: -v database=… -v owner=… -v app=…

\if :{?database} \else \set database billy \endif
\if :{?owner} \else \set owner billy_owner \endif
\if :{?app} \else \set app billy \endif

CREATE ROLE :"owner" LOGIN;
CREATE ROLE :"app" LOGIN;
CREATE DATABASE :"database" OWNER :"owner" TEMPLATE template0 ENCODING 'UTF8';

\connect :"database"

REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"app";
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO :"owner";
GRANT USAGE ON SCHEMA public TO :"app";

-- So that what a later migration adds can be used at once; grants.sql takes back what is too much.
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner" IN SCHEMA public GRANT SELECT, INSERT, UPDATE ON TABLES TO :"app";
