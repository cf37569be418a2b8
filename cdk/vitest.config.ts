import { defineConfig } from 'vitest/config';

/**
 * With CDK=lowest the constructs run on the oldest aws-cdk-lib of the peer range, which is the one that @guardian/cdk pins. What loads a CDK of its own
 * (cdk-nag, @guardian/cdk) is left to the newest.
 */
const lowest = process.env.CDK === 'lowest';

// Loading aws-cdk-lib alone takes seconds on a small machine, and minutes on one that is busy.
export default defineConfig({
  resolve: { alias: lowest ? [{ find: /^aws-cdk-lib(?=$|\/)/, replacement: 'aws-cdk-lib-lowest' }] : [] },
  test: {
    testTimeout: 300_000,
    hookTimeout: 300_000,
    exclude: ['node_modules/**', ...(lowest ? ['test/nag.test.ts', 'test/migration-state-machine.test.ts'] : [])],
  },
});
