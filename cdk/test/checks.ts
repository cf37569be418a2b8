import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type App, type Stack, Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';

/** What cdk-nag has against the constructs below `path`, as `rule at construct`. What else the stack is made of is not ours to answer for. */
export function findings(stack: Stack, path: string): string[] {
  const app = stack.node.root as App;
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  const file = join(app.outdir, 'validation-report.json');
  try {
    app.synth();
  } catch (error) {
    // It says no more than what the report holds.
    if (!existsSync(file)) throw error;
  }
  const report = JSON.parse(readFileSync(file, 'utf8'));
  const found: string[] = [];
  for (const { violations } of report.pluginReports) {
    for (const { ruleName, violatingConstructs } of violations) {
      for (const { constructPath } of violatingConstructs) found.push(`${ruleName} at ${constructPath}`);
    }
  }
  return found.filter((finding) => finding.includes(` at ${path}`));
}
