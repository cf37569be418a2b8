-- The sections of the paper, and what was in it on the first day.
INSERT INTO "Section" ("name", "path") VALUES
    ('News', 'news'),
    ('Culture', 'culture'),
    ('Football', 'football'),
    ('Café & Küche', 'cafe-kueche');

INSERT INTO "Author" ("name", "email") VALUES
    ('Ada Nkemelu', 'ada.nkemelu@paper.example'),
    ('José Íñiguez', 'jose.iniguez@paper.example');

INSERT INTO "Article" ("headline", "body", "status", "publishedAt", "sectionId", "authorId")
SELECT v."headline", v."body", v."status"::"ArticleStatus", v."publishedAt"::timestamp, s."id", a."id"
FROM (VALUES
    ('River level falls; city breathes again', 'By noon the gauge at the old bridge stood at 3.2 m.', 'PUBLISHED', '2024-01-22 12:10', 'news', 'Ada Nkemelu'),
    ('Cup final: minute by minute', 'Kick-off is at eight.', 'PUBLISHED', '2024-01-22 19:30', 'football', 'José Íñiguez'),
    ('Who owns the harbour?', 'The contract runs to 400 pages.', 'LEGAL_REVIEW', NULL, 'news', 'Ada Nkemelu'),
    ('Sourdough, again', 'Flour, water, salt, patience.', 'DRAFT', NULL, 'cafe-kueche', NULL)
) AS v("headline", "body", "status", "publishedAt", "path", "author")
JOIN "Section" s ON s."path" = v."path"
LEFT JOIN "Author" a ON a."name" = v."author"
