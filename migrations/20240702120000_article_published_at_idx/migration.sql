-- CreateIndex
CREATE INDEX CONCURRENTLY "Article_publishedAt_idx" ON "Article"("publishedAt" DESC);
