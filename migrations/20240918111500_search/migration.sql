-- AlterTable
ALTER TABLE "Article" ADD COLUMN "search" tsvector;

-- CreateIndex
CREATE INDEX "Article_search_idx" ON "Article" USING GIN ("search");

-- Written by hand: keep the search document up to date.
CREATE FUNCTION "article_search"() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    NEW."search" :=
        setweight(to_tsvector('simple', NEW."headline"), 'A') ||
        setweight(to_tsvector('simple', NEW."body"), 'B');
    RETURN NEW;
END;
$body$;

CREATE TRIGGER "Article_search" BEFORE INSERT OR UPDATE OF "headline", "body" ON "Article"
    FOR EACH ROW EXECUTE FUNCTION "article_search"();

UPDATE "Article" SET "body" = "body";
