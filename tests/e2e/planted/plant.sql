-- Plants SPACE with functions, operators, types and relations that say so in the server's log when they are used. FUNCTIONS, OPERATORS, TYPES and
-- RELATIONS are the names. Whatever one of these cannot be made of is left out.
DO $plant$
DECLARE
    -- What a type is taken for by a caller that does not have it: a function of exactly the caller's type is preferred to the catalogue's.
    nearly CONSTANT text[] := ARRAY[ARRAY['regclass', 'oid'], ARRAY['bigint', 'integer'], ARRAY['text', 'name'], ARRAY['text', 'character varying'],
        ARRAY['integer', 'bigint'], ARRAY['double precision', 'numeric'], ARRAY['name', 'text'], ARRAY['"any"', 'text'], ARRAY['"any"', 'integer']];
    compared CONSTANT text[] := ARRAY['integer', 'bigint', 'oid', 'regclass', 'regtype', 'text', 'name', 'character varying', '"char"',
        'timestamp with time zone', 'numeric', 'double precision', 'smallint', 'boolean', 'json', 'jsonb'];
    made record;
    pair text[];
    arguments text[];
    number int := 0;
    body text;
BEGIN
    FOR made IN
        SELECT p.proname, p.proretset, format_type(p.prorettype, NULL) AS result,
            ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS a(t, at) ORDER BY at) AS arguments
        FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (FUNCTIONS)
    LOOP
        FOREACH pair SLICE 1 IN ARRAY nearly || ARRAY[ARRAY['', '']] LOOP
            arguments := array_replace(made.arguments, pair[1], pair[2]);
            body := format('BEGIN RAISE LOG ''PLANTED %s''; RETURN%s; END', made.proname, CASE WHEN made.proretset THEN '' ELSE ' NULL' END);
            BEGIN
                EXECUTE format('CREATE FUNCTION SPACE.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS %L', made.proname, array_to_string(arguments, ', '),
                    CASE WHEN made.proretset THEN 'SETOF' ELSE '' END, made.result, body);
            EXCEPTION WHEN OTHERS THEN NULL;
            END;
        END LOOP;
    END LOOP;
    -- Those of any number of arguments.
    FOR made IN SELECT DISTINCT p.proname FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (FUNCTIONS)
        AND p.provariadic <> 0
    LOOP
        EXECUTE format('CREATE FUNCTION SPACE.%I(VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS %L', made.proname,
            format('BEGIN RAISE LOG ''PLANTED %s''; RETURN NULL; END', made.proname));
    END LOOP;
    FOR made IN
        SELECT o.oprname, CASE WHEN o.oprleft <> 0 THEN format_type(o.oprleft, NULL) END AS l, format_type(o.oprright, NULL) AS r,
            format_type(o.oprresult, NULL) AS result
        FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprname = ANY (OPERATORS)
        UNION SELECT o, l, r, CASE o WHEN '||' THEN 'text' WHEN '*' THEN 'numeric' WHEN '-' THEN 'numeric' ELSE 'boolean' END
        FROM unnest(OPERATORS) o, unnest(compared) l, unnest(compared) r
    LOOP
        number := number + 1;
        BEGIN
            EXECUTE format('CREATE FUNCTION SPACE.planted_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L', number, concat_ws(', ', made.l, made.r),
                made.result, format('BEGIN RAISE LOG ''PLANTED %s (%s, %s)''; RETURN NULL; END', replace(made.oprname, '%', '%%'), made.l, made.r));
            EXECUTE format('CREATE OPERATOR SPACE.%s (%s RIGHTARG = %s, FUNCTION = SPACE.planted_%s)', made.oprname,
                'LEFTARG = ' || made.l || ',', made.r, number);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    CREATE FUNCTION SPACE.planted_use(name text) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN RAISE LOG 'PLANTED %', name; RETURN true; END $$;
    FOR made IN SELECT t.typname FROM pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typname = ANY (TYPES)
        AND t.typtype = 'b' AND t.typcategory <> 'A'
    LOOP
        EXECUTE format('CREATE DOMAIN SPACE.%I AS pg_catalog.%1$I CHECK (SPACE.planted_use(%L))', made.typname, 'type ' || made.typname);
    END LOOP;
    FOR made IN SELECT c.oid, c.relname FROM pg_class c WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relname = ANY (RELATIONS)
        AND c.relkind IN ('r', 'v')
    LOOP
        EXECUTE format('CREATE VIEW SPACE.%I AS SELECT %s FROM pg_catalog.%1$I WHERE SPACE.planted_use(%L)', made.relname,
            (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = made.oid AND a.attnum > 0
             AND format_type(a.atttypid, NULL) <> 'anyarray'), 'relation ' || made.relname);
    END LOOP;
END $plant$;
