import { Stack, Validations } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';

/** Says to cdk-nag why a policy below `scope` names this resource by a wildcard: this one, and no other. */
export function acknowledgeWildcard(scope: IConstruct, resource: string, reason: string): void {
  const name = flat(Stack.of(scope).resolve(resource));
  const id = `AwsSolutions-IAM5[Resource::${name}]`;
  try {
    Validations.of(scope).acknowledge({ id, reason });
  } catch (error) {
    // Up to 2.275 the CDK takes every :: for the end of a plugin's name, and refuses an id with several. This is what it does with the others.
    if (!(error instanceof Error) || !error.message.includes('Invalid validation rule ID')) throw error;
    scope.node.addMetadata(Validations.ACKNOWLEDGED_RULES_METADATA_KEY, { [id]: reason });
  }
}

/** A resolved CloudFormation value as cdk-nag writes it in its findings: `<LogicalId.Arn>/reports/*`. */
function flat(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value);
  const { Ref: ref, 'Fn::GetAtt': attribute, 'Fn::Join': join } = value as { Ref?: string; 'Fn::GetAtt'?: string[]; 'Fn::Join'?: [string, unknown[]] };
  if (ref !== undefined) return `<${ref}>`;
  if (attribute !== undefined) return `<${attribute.join('.')}>`;
  if (join !== undefined) return join[1].map(flat).join(join[0]);
  return JSON.stringify(value);
}
