-- AlterEnum
ALTER TYPE "ArticleStatus" ADD VALUE 'LIVE';

-- Written by hand: PostgreSQL does not let the transaction that adds a value to an enum use it.
UPDATE "Article" SET "status" = 'LIVE' WHERE "headline" LIKE '%minute by minute%';
