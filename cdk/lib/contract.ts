/**
 * What these constructs know of the program. `contract.json` holds the same, and a test on either side compares: tests/e2e/contract.rs with the binary,
 * test/contract.test.ts with what the constructs put into templates.
 */
import contract from '../contract.json' with { type: 'json' };

/** Variables that have no flag; the constructs set them, and nobody else may. */
export const VARIABLES: readonly string[] = contract.variables;

/** Variables that stand for flags (`--lock-wait`: `LOCK_WAIT`): what {@link PrismaMigrateTaskProps.settings} may hold. */
export const SETTINGS: readonly string[] = contract.settings;

/** What each exit code means, as the program's `--help` says it. */
export const EXIT_CODES: Readonly<Record<string, string>> = contract.exitCodes;

/**
 * Exit codes after which nothing is wrong: up to date, pending, drift (both are answers to a question), superseded by a newer upload. An interrupted run
 * (60) is not among them: its migrations are not in, and nothing starts the task again until somebody does, or the next upload.
 */
export const QUIET_EXIT_CODES: readonly number[] = [0, 10, 11, 41];

/**
 * Exit codes with which a gate lets the deploy go on: the migrations are in, if need be without their report. As the program answers by itself
 * (src/report/answer.rs): after 41 and 60 those of this artifact are not in.
 */
export const GATE_SUCCESS_CODES: readonly number[] = [0, 70];

/** Exit codes after which starting the task again is all that it takes. */
export const AGAIN_EXIT_CODES: readonly number[] = contract.startAgain;

/** `plan --check` found something to do. */
export const EXIT_PENDING = 10;

/** The user of the image. */
export const IMAGE_USER = contract.imageUser;

/** The task group of what a state machine starts, and of what a gate starts: each tells of the end by itself, and tries again before. */
export const STATE_MACHINE_GROUP = 'prisma-migrate-state-machine';
export const GATE_GROUP = 'prisma-migrate-gate';

/** How the container is called in the task definition. */
export const CONTAINER_NAME = 'migrate';
