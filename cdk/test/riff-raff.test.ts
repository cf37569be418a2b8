/** RiffRaff finds a stack by its tags: what riff-raff.yaml says of the example must be what its app makes. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

test('riff-raff.yaml names a template for each stage, and the App of each stack', () => {
  const yaml = readFileSync(new URL('../examples/catalogue/riff-raff.yaml', import.meta.url), 'utf8');
  const outdir = mkdtempSync(join(tmpdir(), 'catalogue-'));
  execFileSync('npx', ['--no-install', 'tsx', 'examples/catalogue/app.ts'], { cwd: new URL('..', import.meta.url), env: { ...process.env, CDK_OUTDIR: outdir }, stdio: 'ignore' });
  const stages = /allowedStages: \[(.*)\]/.exec(yaml)![1]!.split(', ');
  const deployments = yaml.split(/\n(?= {2}\S)/).filter((part) => part.includes('type: cloud-formation'));
  expect(deployments).toHaveLength(2);
  for (const deployment of deployments) {
    const app = /\n {4}app: (\S+)/.exec(deployment)![1]!;
    for (const stage of stages) {
      const file = new RegExp(`\\n {8}${stage}: (\\S+)`).exec(deployment)![1]!;
      const template = JSON.stringify(JSON.parse(readFileSync(join(outdir, file), 'utf8')));
      expect(template, file).toContain(`{"Key":"App","Value":"${app}"}`);
      expect(template, file).toContain(`{"Key":"Stage","Value":"${stage}"}`);
    }
  }
});
