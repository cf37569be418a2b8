//! What squawk's rules find by a script's text is found here too, where the table is there and large: its rules are the measure of ours.

use std::collections::{BTreeSet, HashMap};

use prisma_migrate_task::hazard::catalogue::{Facts, Relation};
use prisma_migrate_task::hazard::class::Class;
use prisma_migrate_task::hazard::{self, Watchfulness, script};
use prisma_migrate_task::migration::{Migration, Script};
use prisma_migrate_task::plan::{self, Policy};
use prisma_migrate_task::sql::script::Strings;
use squawk_linter::{Linter, Rule};
use squawk_syntax::SourceFile;

/// What a rule warns of in our classes; none where it is no hazard of ours, with the reason. A new version's new rules do not compile until they are
/// thought of.
fn class_of(rule: Rule) -> &'static [Class] {
    use Rule as R;
    match rule {
        R::RequireConcurrentIndexCreation | R::RequireConcurrentReindex => &[Class::IndexBuild],
        R::DisallowedUniqueConstraint | R::AddingSerialPrimaryKeyField => &[Class::IndexBuild],
        // It speaks of UNIQUE too, which builds an index.
        R::ConstraintMissingNotValid => &[Class::TableScan, Class::IndexBuild],
        R::AddingForeignKeyConstraint | R::AddingNotNullableField => &[Class::TableScan],
        R::AddingFieldWithDefault | R::ChangingColumnType => &[Class::TableRewrite],
        R::RenamingColumn | R::RenamingTable | R::BanSetSchema => &[Class::Rename],
        R::BanDropColumn | R::BanDropTable | R::BanDropView | R::BanDropSchema | R::BanTruncateCascade => {
            &[Class::Drop]
        }
        // PostgreSQL 19's REPACK, in place of what is a rewrite here all the same.
        R::PreferRepack => &[],
        // A deploy that fails, not one that harms: a note, where the table has rows.
        R::AddingRequiredField => &[],
        // Brief locks, and nothing lost that a migration could not make again.
        R::RequireConcurrentIndexDeletion
        | R::RequireConcurrentPartitionDetach
        | R::BanDropIndex
        | R::BanDropConstraint
        | R::BanDropDefault
        | R::BanDropNotNull
        | R::BanDropTrigger
        | R::BanDropPolicy
        | R::BanDropFunction
        | R::BanDropGeneratedExpression
        | R::BanSetDefault
        | R::BanDisableTrigger
        | R::BanReplicaIdentity => &[],
        // Not tables: their data are elsewhere, or they hold none. Types and domains are judged by the columns that the catalogue has of them.
        R::BanDropDatabase
        | R::BanDropType
        | R::BanDropDomain
        | R::BanDropSequence
        | R::BanDropExtension
        | R::RenamingObject
        | R::BanCreateDomainWithConstraint
        | R::BanAlterDomainWithAddConstraint
        | R::BanAlterExtension
        | R::BanAlterSequenceValues
        | R::BanAlterSystemOptions
        | R::BanAddEnumValue
        | R::BanAddCompositeAttribute
        | R::BanDetachInheritance => &[],
        // How an application, or a role, sees it: not for a deploy to judge.
        R::BanRevoke
        | R::BanReplaceViewFunction
        | R::BanAlterPolicyCondition
        | R::BanAlterPolicyRoles
        | R::BanCreatePolicy
        | R::BanAlterFunctionOptions
        | R::BanAlterViewOptions
        | R::BanAlterRoleOptions
        | R::BanAlterDatabaseOptions
        | R::BanAlterRowLevelSecurity
        | R::BanNewWriteRestriction
        | R::BanAlterIdentity
        | R::BanAlterGeneratedExpression
        | R::BanAddColumn => &[],
        // Style, which Prisma's own generator decides.
        R::PreferBigintOverInt
        | R::PreferBigintOverSmallint
        | R::PreferIdentity
        | R::PreferRobustStmts
        | R::PreferTextField
        | R::PreferTimestampTz
        | R::BanCharField
        | R::RequireTableSchema
        | R::RequireEnumValueOrdering
        | R::IdentifierTooLong
        | R::BanDuplicateColumnAssignments
        | R::UnusedIgnore => &[],
        // Transactions and timeouts are this program's own.
        R::TransactionNesting
        | R::BanConcurrentIndexCreationInTransaction
        | R::BanUncommittedTransaction
        | R::RequireTimeoutSettings
        | R::RequireLockTimeout
        | R::RequireStatementTimeout => &[],
    }
}

const STATEMENTS: &[&str] = &[
    "CREATE INDEX i ON t (a);",
    "CREATE UNIQUE INDEX i ON public.t (a);",
    "REINDEX TABLE t;",
    "REINDEX INDEX t_a;",
    "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a);",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0);",
    "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES o (id);",
    "ALTER TABLE t ADD COLUMN a bigserial PRIMARY KEY;",
    "ALTER TABLE t ADD PRIMARY KEY (a);",
    "ALTER TABLE t ADD COLUMN a uuid DEFAULT uuid_generate_v4();",
    "ALTER TABLE t ADD COLUMN a float DEFAULT random();",
    "ALTER TABLE t ADD COLUMN a int GENERATED ALWAYS AS (b + c) STORED;",
    "ALTER TABLE t ALTER COLUMN a TYPE text USING a::text;",
    "ALTER TABLE t ALTER COLUMN a SET DATA TYPE bigint;",
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL;",
    "ALTER TABLE t RENAME COLUMN a TO b;",
    "ALTER TABLE t RENAME TO u;",
    "ALTER TABLE t SET SCHEMA s;",
    "DROP VIEW t;",
    "ALTER TABLE t DROP COLUMN a;",
    "DROP TABLE IF EXISTS t;",
    "DROP SCHEMA s CASCADE;",
    "TRUNCATE t CASCADE;",
];

/// The classes of the hazards where every relation that is named is there, and large.
fn ours(statement: &str) -> BTreeSet<Class> {
    let migration = [Migration {
        name: "it".to_owned(),
        script: Script::read(statement.as_bytes().to_vec()),
    }];
    let plan = plan::first(&migration, &Policy::default(), Strings::Standard).unwrap();
    let scripts = [script::read(&plan.pending[0])];
    let large = Relation {
        name: "t".to_owned(),
        kind: "r".to_owned(),
        bytes: 1 << 40,
        ..Relation::default()
    };
    let index = Relation {
        table: Some(Box::new(large.clone())),
        ..large
    };
    let question = script::question(&scripts);
    let facts = Facts {
        version: 150_000,
        schema: "public".to_owned(),
        relations: question
            .relations
            .into_iter()
            .map(|name| (name, index.clone()))
            .collect(),
        schemas: HashMap::from([("s".to_owned(), 3)]),
        volatile: HashMap::from([("uuid_generate_v4".to_owned(), true), ("random".to_owned(), true)]),
        ..Facts::default()
    };
    let examined = hazard::foresee(&scripts, &facts, &Watchfulness::default());
    examined.hazards.iter().map(|hazard| hazard.class).collect()
}

#[test]
fn what_squawk_finds_is_found() {
    let mut seen: Vec<Rule> = Vec::new();
    for statement in STATEMENTS {
        let parsed = SourceFile::parse(statement);
        let found = Linter::with_rules(&[], &[]).lint(&parsed, statement);
        let ours = ours(statement);
        let mut any = false;
        for rule in found.iter().map(|violation| violation.code) {
            let classes = class_of(rule);
            if classes.is_empty() {
                continue;
            }
            any = true;
            seen.push(rule);
            assert!(
                classes.iter().any(|class| ours.contains(class)),
                "{statement} squawk finds {rule}, and here is {ours:?}"
            );
        }
        assert!(any, "{statement}: squawk finds nothing in it that is a class of ours");
    }
    // Every rule that is a class of ours was really at work.
    let all: Vec<Rule> = Linter::with_rules(&[], &[]).rules.into_iter().collect();
    let mapped = all.into_iter().filter(|rule| !class_of(*rule).is_empty());
    let idle: Vec<String> = mapped
        .filter(|rule| !seen.contains(rule))
        .map(|rule| rule.to_string())
        .collect();
    assert!(idle.is_empty(), "no statement for {idle:?}");
}
