#!/bin/sh
# Run once by the Postgres image, when the database is made for the first time: the two groups, and
# the user of the service. `migrate` then says what the groups may do.
set -eu

SERVICE_PASSWORD_FILE=${SERVICE_PASSWORD_FILE:-/run/secrets/service_password}
export SERVICE_PASSWORD_FILE

# psql itself reads the password: no command line shows it, and whatever is in it is quoted.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" <<'SQL'
\set password `cat "$SERVICE_PASSWORD_FILE"`
SET log_statement = 'none';
CREATE ROLE ampeco_receiver_service NOLOGIN;
CREATE ROLE ampeco_receiver_read NOLOGIN;
CREATE ROLE ampeco_service LOGIN PASSWORD :'password' IN ROLE ampeco_receiver_service;
SQL
