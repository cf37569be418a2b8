import { defineConfig } from 'vitest/config';

// Loading aws-cdk-lib alone takes seconds on a small machine.
export default defineConfig({ test: { testTimeout: 60_000, hookTimeout: 60_000 } });
