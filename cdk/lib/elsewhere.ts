import { Stack, Token, TokenComparison } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { Refusal } from './refusal.js';

/** Something that knows its account and region: any resource of the CDK, imported or not. */
interface Placed {
  readonly env: { readonly account: string; readonly region: string };
}

const differ = (one: string, other: string) => Token.compareStrings(one, other) === TokenComparison.DIFFERENT;

/**
 * Refuses a resource of another account or region than `scope`'s stack, if AWS cannot use it from there. What is not known when the app is synthesized is
 * taken for the same.
 */
export function refuseElsewhere(scope: Construct, name: string, resource: Placed | undefined, not: ('account' | 'region')[], why: string): void {
  if (!resource) return;
  const here = Stack.of(scope);
  for (const of of not) {
    const there = resource.env[of];
    if (differ(there, here[of])) throw new Refusal(scope.node.path, `${name} is in the ${of} ${there}, and this stack in ${here[of]}: ${why}`);
  }
}
