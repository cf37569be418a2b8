import { CfnParameter, type Stack } from 'aws-cdk-lib';

/** The parameter `RiffRaffDeploymentId`, which RiffRaff fills in at each deploy. Made by {@link fromRiffRaff}. */
export interface RiffRaffDeployment {
  readonly kind: 'RiffRaff';
}

/**
 * For {@link MigrationGateProps.deploymentId} if RiffRaff deploys: it fills in the parameter `RiffRaffDeploymentId`. Any other way to deploy has to give
 * this parameter itself. Source: https://riffraff.gutools.co.uk/docs/magenta-lib/types#cloudformation ("manageStackPolicy", "Parameters").
 */
export const fromRiffRaff = (): RiffRaffDeployment => ({ kind: 'RiffRaff' });

/**
 * For {@link MigrationGateProps.deploymentId}: the time at which the app is synthesized, so that each `cdk deploy` asks the gate. The template differs at
 * each synth: `cdk diff` always shows a change, snapshot tests fail, and a CDK Pipeline that synthesizes itself updates itself for ever.
 */
export const atEachSynth = (): string => `synth-${new Date().toISOString()}`;

/** What differs at each deploy. The parameter is one for all gates of a stack. */
export function resolveDeploymentId(stack: Stack, id: string | RiffRaffDeployment): string {
  if (typeof id === 'string') return id;
  const name = 'RiffRaffDeploymentId';
  const existing = stack.node.tryFindChild(name) as CfnParameter | undefined;
  const parameter = existing ?? new CfnParameter(stack, name, { type: 'String', description: 'Filled in by RiffRaff: each deploy runs the migrations' });
  return parameter.valueAsString;
}

/** What to give, for whoever gave nothing. */
export const DEPLOYMENT_ID_CHOICES =
  'deploymentId must be another one at each deploy, or CloudFormation sees no change and does not ask the gate. Give a string such as the commit or the build number, ' +
  'or fromRiffRaff(), or atEachSynth().';
