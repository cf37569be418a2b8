//! The real Prisma CLI.
