-- What the role billy may do to which table. After every `billy init-db`, as billy_owner; harmless when repeated:
--
--   psql -v ON_ERROR_STOP=1 --dbname="$BILLY_DATABASE_URL" --file=grants.sql

\if :{?app} \else \set app billy \endif

GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO :"app";

-- What Billy throws away again: the diary of runs, kept answers to repeated requests, counters of requests.
SELECT format('GRANT DELETE ON %I TO %I', tablename, :'app') FROM pg_tables
WHERE schemaname = 'public' AND tablename IN ('billing_run', 'idempotency_key', 'rate_limit')
\gexec

-- What was said and done stays as it was written.
REVOKE UPDATE ON audit_entry, recovery, transaction_event FROM :"app";

-- Only a migration changes the schema's revision.
REVOKE INSERT, UPDATE ON alembic_version FROM :"app";
