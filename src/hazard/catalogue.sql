WITH RECURSIVE script AS MATERIALIZED (SELECT set_config('search_path', {path}, true) AS path),
asked(at, name) AS (VALUES {asked}),
asked_type(at, name) AS (VALUES {types}),
found AS (SELECT a.at, c.oid, c.relkind, i.indrelid FROM script s CROSS JOIN asked a
  JOIN pg_class c ON c.oid = to_regclass(CASE WHEN s.path IS NOT NULL THEN a.name END)
  LEFT JOIN pg_index i ON i.indexrelid = c.oid),
found_type AS (SELECT a.at, t.oid FROM script s CROSS JOIN asked_type a
  JOIN pg_type t ON t.oid = to_regtype(CASE WHEN s.path IS NOT NULL THEN a.name END)),
-- What a domain is made of, down to its base; `constrained` of each step.
domain(root, oid, depth) AS (SELECT oid, oid, 0 FROM pg_type WHERE typtype = 'd'
  UNION ALL SELECT d.root, t.typbasetype, d.depth + 1 FROM domain d JOIN pg_type t ON t.oid = d.oid WHERE t.typtype = 'd'),
bottom AS (SELECT DISTINCT ON (d.root) d.root, d.oid FROM domain d ORDER BY d.root, d.depth DESC),
constrained AS (SELECT t.oid FROM pg_type t WHERE t.typtype = 'd'
  AND (t.typnotnull OR EXISTS (SELECT FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'))),
-- Types that are made of one that was asked for, or that belong to an extension; `direct` over domains alone.
root AS (SELECT oid AS root FROM found_type
  UNION SELECT d.objid FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    WHERE d.classid = 'pg_type'::regclass AND d.deptype = 'e' AND e.extname IN ({extensions})),
part(whole, oid, direct) AS (
  SELECT t.oid, t.typbasetype, true FROM pg_type t WHERE t.typbasetype <> 0
  UNION ALL SELECT t.typarray, t.oid, false FROM pg_type t WHERE t.typarray <> 0
  UNION ALL SELECT r.rngtypid, r.rngsubtype, false FROM pg_range r
  UNION ALL SELECT c.reltype, a.atttypid, false FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relkind = 'c' AND a.attnum > 0 AND NOT a.attisdropped),
made(root, oid, direct) AS (SELECT root, root, true FROM root WHERE root >= 16384
  UNION SELECT m.root, p.whole, m.direct AND p.direct FROM made m JOIN part p ON p.oid = m.oid),
typed AS (SELECT m.root, c.oid, n.nspname, c.relname, a.attname, m.direct
  FROM (SELECT root, oid, bool_or(direct) AS direct FROM made GROUP BY root, oid) m
  JOIN pg_attribute a ON a.atttypid = m.oid AND a.attnum > 0 AND NOT a.attisdropped
  JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'm', 'p', 'f') JOIN pg_namespace n ON n.oid = c.relnamespace),
named AS (SELECT oid FROM found UNION SELECT indrelid FROM found WHERE indrelid IS NOT NULL),
wanted AS (SELECT oid FROM named UNION SELECT oid FROM typed
  UNION SELECT p.partdefid FROM named w JOIN pg_partitioned_table p ON p.partrelid = w.oid WHERE p.partdefid <> 0),
tree(root, oid, depth) AS (SELECT oid, oid, 0 FROM wanted
  UNION ALL SELECT t.root, i.inhrelid, t.depth + 1 FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid),
above(root, oid) AS (SELECT w.oid, i.inhparent FROM wanted w JOIN pg_inherits i ON i.inhrelid = w.oid
  UNION SELECT a.root, i.inhparent FROM above a JOIN pg_inherits i ON i.inhrelid = a.oid),
reader(root, oid) AS (SELECT w.oid, r.ev_class FROM wanted w JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = w.oid
    AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite r ON r.oid = d.objid WHERE r.ev_class <> w.oid
  UNION SELECT b.root, r.ev_class FROM reader b JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = b.oid
    AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite r ON r.oid = d.objid WHERE r.ev_class <> b.oid),
sized AS (SELECT t.root, count(*) - 1 AS partitions, coalesce(sum({bytes}), 0)::bigint AS bytes,
  coalesce(bool_and({empty}), true) AS empty,
  CASE WHEN bool_or(l.relkind IN ('r', 'm') AND (l.reltuples < 0 OR l.reltuples = 0 AND NOT ({empty}))) THEN NULL
    ELSE sum(l.reltuples) FILTER (WHERE l.relkind IN ('r', 'm'))::bigint END AS rows
  FROM tree t JOIN pg_class l ON l.oid = t.oid GROUP BY t.root),
described AS (SELECT w.oid, c.relkind, json_build_object(
  'name', w.oid::regclass::text, 'identity', json_build_array(n.nspname, c.relname), 'kind', c.relkind,
  'bytes', s.bytes, 'rows', s.rows, 'empty', s.empty, 'partitions', s.partitions,
  'tablespace', (SELECT spcname FROM pg_tablespace t WHERE t.oid = c.reltablespace),
  'method', (SELECT amname FROM pg_am m WHERE m.oid = c.relam), 'logged', c.relpersistence = 'p',
  'valid', coalesce((SELECT indisvalid FROM pg_index x WHERE x.indexrelid = c.oid), false),
  'columns', (SELECT coalesce(json_agg(json_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
    'type_name', (SELECT json_build_array(en.nspname, e.typname) FROM pg_type e JOIN pg_namespace en ON en.oid = e.typnamespace
      WHERE e.oid = CASE WHEN t.typelem <> 0 AND t.typlen = -1 AND t.typcategory = 'A' THEN t.typelem ELSE t.oid END),
    'base', (SELECT format_type(b.oid, NULL) FROM bottom b WHERE b.root = a.atttypid),
    'collation', (SELECT l.collname FROM pg_collation l WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation),
    'computed', a.attgenerated = 'v',
    'not_null', a.attnotnull AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = w.oid AND k.contype = 'n'
      AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated),
    'unique', EXISTS (SELECT FROM pg_index u WHERE u.indrelid = w.oid AND u.indisunique AND u.indisvalid
      AND u.indpred IS NULL AND u.indnkeyatts = 1 AND u.indkey[0] = a.attnum)) ORDER BY a.attnum), '[]')
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'constraints', (SELECT coalesce(json_agg(json_build_object('name', k.conname, 'kind', k.contype, 'valid', k.convalidated,
    'refers_to', nullif(k.confrelid, 0)::regclass::text,
    'columns', (SELECT coalesce(json_agg(a.attname), '[]') FROM pg_attribute a WHERE a.attrelid = w.oid AND a.attnum = ANY (k.conkey)),
    'check', CASE WHEN k.contype = 'c' THEN {check} END)), '[]')
    FROM pg_constraint k WHERE k.conrelid = w.oid AND k.contype IN ('c', 'f', 'n', 'p', 'u', 'x')),
  'indexes', (SELECT coalesce(json_agg(json_build_object('name', i.relname,
    'plain', x.indexprs IS NULL AND x.indpred IS NULL,
    'default_operators', NOT EXISTS (SELECT FROM pg_opclass o WHERE o.oid = ANY (x.indclass::oid[]) AND NOT o.opcdefault),
    'definition', concat_ws(' ', x.indisunique, i.relam, x.indnkeyatts, x.indclass, x.indcollation, x.indoption,
      (SELECT string_agg(quote_ident(a.attname), ',' ORDER BY k.at) FROM unnest(x.indkey::int2[]) WITH ORDINALITY k(attnum, at)
        JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum = k.attnum)),
    'key', (SELECT coalesce(json_agg(a.attname), '[]') FROM pg_attribute a
      WHERE a.attrelid = w.oid AND a.attnum > 0 AND a.attnum = ANY ((x.indkey::int2[])[0:x.indnkeyatts - 1])),
    'columns', (SELECT coalesce(json_agg(DISTINCT a.attname), '[]') FROM pg_attribute a
      WHERE a.attrelid = w.oid AND a.attnum > 0 AND (a.attnum = ANY (x.indkey::int2[]) OR EXISTS (SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = i.oid AND d.refclassid = 'pg_class'::regclass
          AND d.refobjid = w.oid AND d.refobjsubid = a.attnum))))), '[]')
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = w.oid),
  'ancestors', (SELECT coalesce(json_agg(json_build_array(pn.nspname, p.relname)), '[]') FROM above a
    JOIN pg_class p ON p.oid = a.oid JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE a.root = w.oid),
  'views', (SELECT coalesce(json_agg(DISTINCT r.oid::regclass::text), '[]') FROM reader r
    JOIN pg_class v ON v.oid = r.oid WHERE r.root = w.oid AND v.relkind IN ('v', 'm')),
  'partitioned', (SELECT json_build_object('strategy', p.partstrat,
    'key', CASE WHEN p.partexprs IS NULL THEN (SELECT json_agg(a.attname ORDER BY k.at)
      FROM unnest(p.partattrs::int2[]) WITH ORDINALITY k(attnum, at) JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum = k.attnum)
      ELSE '[]' END,
    'default', (SELECT json_build_array(dn.nspname, d.relname) FROM pg_class d JOIN pg_namespace dn ON dn.oid = d.relnamespace
      WHERE d.oid = p.partdefid)) FROM pg_partitioned_table p WHERE p.partrelid = w.oid),
  'referencing', (SELECT coalesce(json_agg(DISTINCT k.conrelid::regclass::text), '[]')
    FROM pg_constraint k WHERE k.confrelid = w.oid AND k.conrelid <> w.oid AND k.contype = 'f')) AS facts
  FROM wanted w JOIN pg_class c ON c.oid = w.oid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN sized s ON s.root = w.oid),
typed_columns AS (SELECT root, json_agg(json_build_object('schema', nspname, 'table', relname, 'column', attname, 'direct', direct)
  ORDER BY nspname, relname, attname) AS columns FROM typed GROUP BY root)
SELECT json_build_object('version', current_setting('server_version_num')::int,
  'path', (SELECT to_json(current_schemas(false)) FROM script WHERE path IS NOT NULL),
  'time_zone', current_setting('TimeZone'),
  'tablespace', (SELECT spcname FROM pg_tablespace t JOIN pg_database d ON d.dattablespace = t.oid WHERE d.datname = current_database()),
  'relations', (SELECT coalesce(json_object_agg(f.at, CASE WHEN f.indrelid IS NULL THEN d.facts::jsonb
    ELSE d.facts::jsonb || jsonb_build_object('table', t.facts) END), '{}')
    FROM found f JOIN described d ON d.oid = f.oid LEFT JOIN described t ON t.oid = f.indrelid),
  'also', (SELECT coalesce(json_agg(d.facts), '[]') FROM described d WHERE d.oid NOT IN (SELECT oid FROM found)),
  'volatile', (SELECT coalesce(json_object_agg(p.proname, p.volatile), '{}') FROM
    (SELECT proname, bool_or(provolatile = 'v') AS volatile FROM pg_proc WHERE proname IN ({functions}) GROUP BY proname) p),
  'schemas', (SELECT coalesce(json_object_agg(n.nspname, (SELECT count(*) FROM pg_class l WHERE l.relnamespace = n.oid
    AND l.relkind IN ('r', 'm') AND NOT ({empty}))), '{}') FROM pg_namespace n WHERE n.nspname IN ({schemas})),
  'types', (SELECT coalesce(json_object_agg(f.at, json_build_object('schema', n.nspname, 'name', t.typname,
    'shown', format_type(t.oid, NULL), 'kind', t.typtype,
    'base', (SELECT format_type(b.typbasetype, b.typtypmod) FROM domain d JOIN pg_type b ON b.oid = d.oid AND b.typtype = 'd'
      WHERE d.root = t.oid ORDER BY d.depth DESC LIMIT 1),
    'parent', (SELECT json_build_array(bn.nspname, b.typname) FROM pg_type b JOIN pg_namespace bn ON bn.oid = b.typnamespace
      WHERE b.oid = t.typbasetype AND b.typtype = 'd'),
    'inherits', EXISTS (SELECT FROM domain d WHERE d.root = t.oid AND d.depth > 0 AND d.oid IN (SELECT oid FROM constrained)),
    'checks', (SELECT coalesce(json_agg(k.conname), '[]') FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'),
    'not_null', t.typnotnull,
    'volatile', EXISTS (SELECT FROM regexp_matches(t.typdefault, '([A-Za-z_0-9]+)"?\(', 'g') AS call(name)
      JOIN pg_proc p ON p.proname = call.name[1] AND p.provolatile = 'v'),
    'values', (SELECT coalesce(json_agg(e.enumlabel ORDER BY e.enumsortorder), '[]') FROM pg_enum e WHERE e.enumtypid = t.oid),
    'columns', coalesce((SELECT columns FROM typed_columns c WHERE c.root = t.oid), '[]'))), '{}')
    FROM found_type f JOIN pg_type t ON t.oid = f.oid JOIN pg_namespace n ON n.oid = t.typnamespace),
  'extensions', (SELECT coalesce(json_object_agg(e.extname, (SELECT coalesce(json_agg(json_build_object('schema', c.nspname,
    'table', c.relname, 'column', c.attname, 'direct', c.direct)), '[]') FROM typed c JOIN pg_depend d ON d.objid = c.root
    AND d.classid = 'pg_type'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e')), '{}')
    FROM pg_extension e WHERE e.extname IN ({extensions})),
  'casts', (SELECT coalesce(json_agg(json_build_array(json_build_array(fn.nspname, f.typname), json_build_array(tn.nspname, t.typname))), '[]')
    FROM pg_cast c JOIN pg_type f ON f.oid = c.castsource JOIN pg_namespace fn ON fn.oid = f.typnamespace
    JOIN pg_type t ON t.oid = c.casttarget JOIN pg_namespace tn ON tn.oid = t.typnamespace
    WHERE c.castmethod = 'b' AND c.casttarget IN (SELECT oid FROM found_type)))
