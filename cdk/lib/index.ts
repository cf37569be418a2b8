export * from './alarms.js';
export * from './artifact.js';
export * from './contract.js';
export * from './database.js';
export * from './image.js';
export * from './prisma-migrate-task.js';
export * from './refusal.js';
export * from './upload-rule.js';
