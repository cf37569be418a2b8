/**
 * Plays a state machine as Step Functions does, as far as ours use the Amazon States Language with JSONata: Pass, Task, Choice, Wait, Succeed, Fail, Map. What
 * it does not know it refuses. Retries and waits take no time.
 *
 * Sources: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-amazon-states-language.html, transforming-data.html (JSONata),
 * workflow-variables.html, concepts-error-handling.html.
 */
import jsonata from 'jsonata';

/** An error as a task's integration raises it. */
export class TaskError extends Error {
  constructor(
    readonly error: string,
    override readonly cause: string,
  ) {
    super(`${error}: ${cause}`);
  }
}

/** What an integration answers; it throws a {@link TaskError}. */
export type Integration = (input: any) => unknown;

export interface Played {
  readonly status: 'SUCCEEDED' | 'FAILED';
  readonly output?: unknown;
  readonly error?: string;
  readonly cause?: string;
  /** The states that it went through. */
  readonly path: string[];
}

interface Scope {
  readonly variables: Record<string, unknown>;
  readonly integrations: Readonly<Record<string, Integration>>;
  readonly context: object;
  readonly path: string[];
}

class Failed extends Error {
  constructor(
    readonly error: string,
    override readonly cause: string,
  ) {
    super(error);
  }
}

async function evaluate(value: unknown, states: object, variables: Record<string, unknown>): Promise<unknown> {
  if (typeof value === 'string') {
    const expression = /^\{%([\s\S]*)%\}$/.exec(value)?.[1];
    if (expression === undefined) return value;
    const parsed = jsonata(expression);
    parsed.registerFunction('parse', (text: string) => JSON.parse(text), '<s:x>');
    parsed.registerFunction('uuid', () => '00000000-0000-4000-8000-000000000000', '<:s>');
    const result = await parsed.evaluate({}, { states, ...variables });
    // JSONata's sequences carry marks of their own.
    if (result === undefined) throw new TaskError('States.QueryEvaluationError', `nothing comes of ${expression}`);
    return JSON.parse(JSON.stringify(result));
  }
  if (Array.isArray(value)) return Promise.all(value.map((one) => evaluate(one, states, variables)));
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(async ([name, one]) => [name, await evaluate(one, states, variables)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

async function perform(name: string, state: any, input: unknown, scope: Scope): Promise<unknown> {
  const at = { input, context: scope.context };
  if (state.Type === 'Map') {
    const items = state.Items ?? scope.integrations[state.ItemReader.Resource.split(':::')[1]]!(state.ItemReader.Arguments);
    const results: unknown[] = [];
    for (const item of items as unknown[]) {
      const context = { ...scope.context, Map: { Item: { Value: item } } };
      const given = await evaluate(state.ItemSelector, { input, context }, scope.variables);
      // A child execution of a Distributed Map has no variables of its parent.
      const child = await run(state.ItemProcessor, given, { ...scope, variables: {} });
      results.push(child);
    }
    return results;
  }
  const argument = await evaluate(state.Arguments, at, scope.variables);
  const integration = state.Resource.split(':::')[1];
  const play = scope.integrations[integration];
  if (!play) throw new Error(`${name}: no integration ${integration}`);
  return play(argument);
}

async function attempt(name: string, state: any, input: unknown, scope: Scope): Promise<unknown> {
  const used = new Map<object, number>();
  for (;;) {
    try {
      return await perform(name, state, input, scope);
    } catch (error) {
      if (!(error instanceof TaskError)) throw error;
      const names = (list: string[]) => list.includes(error.error) || list.includes('States.ALL') || (list.includes('States.TaskFailed') && error.error !== 'States.Timeout');
      const retrier = (state.Retry ?? []).find(({ ErrorEquals }: { ErrorEquals: string[] }) => names(ErrorEquals));
      const tries = used.get(retrier) ?? 0;
      if (!retrier || tries >= (retrier.MaxAttempts ?? 3)) throw error;
      used.set(retrier, tries + 1);
    }
  }
}

async function run({ StartAt, States }: any, given: unknown, scope: Scope): Promise<unknown> {
  let [name, input] = [StartAt as string, given];
  for (;;) {
    const state = States[name];
    scope.path.push(name);
    const assign = async (of: any, states: object) => Object.assign(scope.variables, await evaluate(of.Assign ?? {}, { context: scope.context, input, ...states }, scope.variables));
    const put = async (states: object) => (state.Output === undefined ? input : evaluate(state.Output, { context: scope.context, input, ...states }, scope.variables));
    switch (state.Type) {
      case 'Pass':
      case 'Wait': {
        const output = await put({});
        await assign(state, {});
        input = output;
        break;
      }
      case 'Succeed':
        return input;
      case 'Fail':
        throw new Failed(state.Error, String(await evaluate(state.Cause, { input, context: scope.context }, scope.variables)));
      case 'Choice': {
        let next = state.Default;
        for (const choice of state.Choices) {
          if ((await evaluate(choice.Condition, { input, context: scope.context }, scope.variables)) !== true) continue;
          await assign(choice, {});
          next = choice.Next;
          break;
        }
        name = next;
        continue;
      }
      case 'Task':
      case 'Map':
        try {
          const result = await attempt(name, state, input, scope);
          const output = state.Output === undefined ? result : await put({ result });
          await assign(state, { result });
          input = output;
        } catch (error) {
          const caught = error instanceof TaskError && (state.Catch ?? [])[0];
          if (!caught) throw error;
          await assign(caught, { errorOutput: { Error: error.error, Cause: error.cause } });
          name = caught.Next;
          continue;
        }
        break;
      default:
        throw new Error(`${name}: no state of the type ${state.Type}`);
    }
    if (state.End) return input;
    name = state.Next;
  }
}

/** One execution. */
export async function play(definition: object, input: unknown, integrations: Readonly<Record<string, Integration>>): Promise<Played> {
  const path: string[] = [];
  const context = { Execution: { Id: 'arn:aws:states:eu-west-1:123456789012:execution:machine:1' } };
  try {
    const output = await run(definition, input, { variables: {}, integrations, context, path });
    return { status: 'SUCCEEDED', output, path };
  } catch (error) {
    if (error instanceof Failed || error instanceof TaskError) return { status: 'FAILED', error: error.error, cause: error.cause, path };
    throw error;
  }
}
