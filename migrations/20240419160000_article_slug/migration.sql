/*
  Warnings:

  - Added the required column `slug` to the `Article` table without a default value. This is not possible if the table is not empty.

*/
-- AlterTable
ALTER TABLE "Article" ADD COLUMN "slug" TEXT;

-- Written by hand: give the articles there are a slug before the column becomes required.
UPDATE "Article"
SET "slug" = trim(BOTH '-' FROM regexp_replace(lower("headline"), '[^a-z0-9]+', '-', 'g')) || '-' || "id";

DO $$
DECLARE
    n bigint;
BEGIN
    SELECT count(*) INTO n FROM "Article" WHERE "slug" IS NOT NULL;
    RAISE NOTICE '% articles have a slug now', n;
END
$$;

ALTER TABLE "Article" ALTER COLUMN "slug" SET NOT NULL;

-- CreateIndex
CREATE UNIQUE INDEX "Article_slug_key" ON "Article"("slug");
