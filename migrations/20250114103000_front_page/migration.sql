-- What the front page shows: the newest of every section.
CREATE VIEW "FrontPage" AS
SELECT DISTINCT ON (s."id")
    s."name" AS "section",
    a."slug",
    a."headline",
    a."publishedAt"
FROM "Section" s
JOIN "Article" a ON a."sectionId" = s."id"
WHERE a."status" IN ('PUBLISHED', 'LIVE')
ORDER BY s."id", a."publishedAt" DESC;
