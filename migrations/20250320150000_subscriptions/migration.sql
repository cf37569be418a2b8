-- CreateEnum
CREATE TYPE "Plan" AS ENUM ('DIGITAL', 'WEEKEND', 'EVERYDAY');

-- CreateTable
CREATE TABLE "Subscription" (
    "id" UUID NOT NULL DEFAULT gen_random_uuid(),
    "email" TEXT NOT NULL,
    "plan" "Plan" NOT NULL,
    "price" DECIMAL(6,2) NOT NULL,
    "startedAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "endedAt" TIMESTAMP(3),

    CONSTRAINT "Subscription_pkey" PRIMARY KEY ("id")
);

-- Written by hand: Prisma has neither checks nor partial indexes.
ALTER TABLE "Subscription" ADD CONSTRAINT "Subscription_price_check" CHECK ("price" >= 0);

CREATE UNIQUE INDEX "Subscription_email_running_key" ON "Subscription"("email") WHERE "endedAt" IS NULL;
