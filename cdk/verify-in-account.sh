#!/bin/sh
# verify-in-account.sh [--delete]: deploys examples/newsroom to the account of your credentials, uploads, breaks, mends and tears down: ACCOUNT.md.
set -eu
cd "$(dirname "$0")"

stack=${STACK:-prisma-migrate-task-verification}
architecture=${ARCHITECTURE:-ARM64}
report=$PWD/verify-in-account.txt
export AWS_PAGER=

# moto, in place of AWS.
[ -z "${ENDPOINT:-}" ] || export AWS_ENDPOINT_URL="$ENDPOINT"

say() {
  printf '%s %s\n' "$(date -u +%H:%M:%S)" "$*" | tee -a "$report"
}

# A step, and whether it came to what it should.
check() {
  what=$1
  shift
  if "$@"; then say "ok      $what"; else say "NOT OK  $what"; fi
}

bucket() {
  aws cloudformation describe-stack-resources --stack-name "$stack" --query "StackResources[?ResourceType=='AWS::S3::Bucket'].PhysicalResourceId | [0]" --output text
}

delete() {
  made=$(bucket 2>/dev/null || true)
  say "deleting the stack $stack"
  # The database is kept as a snapshot and the bucket is kept, as the CDK has it by default: the bucket goes here.
  aws cloudformation delete-stack --stack-name "$stack"
  aws cloudformation wait stack-delete-complete --stack-name "$stack" || say "NOT OK  the stack is not deleted: see its events"
  case $made in
    '' | None) ;;
    *)
      aws s3api list-object-versions --bucket "$made" --output json --query '{Objects: [Versions, DeleteMarkers][][].{Key: Key, VersionId: VersionId}}' >"$work/objects.json"
      grep -q VersionId "$work/objects.json" && aws s3api delete-objects --bucket "$made" --delete "file://$work/objects.json" >/dev/null
      aws s3api delete-bucket --bucket "$made" || say "NOT OK  the bucket $made is still there"
      ;;
  esac
}

deploy() {
  aws cloudformation deploy --stack-name "$stack" --template-file "$work/template.json" --s3-bucket "$upload" --capabilities CAPABILITY_IAM \
    --parameter-overrides "Deployment=$1" --no-fail-on-empty-changeset
}

# A reason in the stack's events.
reason() {
  aws cloudformation describe-stack-events --stack-name "$stack" --output text --query 'StackEvents[].ResourceStatusReason' | grep -q -- "$1"
}

upload_history() {
  rm -rf "$work/prisma" && mkdir -p "$work/prisma/migrations/20240101000000_init"
  printf 'provider = "postgresql"\n' >"$work/prisma/migrations/migration_lock.toml"
  printf '%s\n' "$1" >"$work/prisma/migrations/20240101000000_init/migration.sql"
  if [ $# -gt 1 ]; then
    mkdir -p "$work/prisma/migrations/20240102000000_more"
    printf '%s\n' "$2" >"$work/prisma/migrations/20240102000000_more/migration.sql"
  fi
  (cd "$work" && rm -f prisma.zip && zip -qr prisma.zip prisma)
  aws s3api put-object --bucket "$(bucket)" --key newsroom/CODE/api/prisma.zip --body "$work/prisma.zip" >/dev/null
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: >"$report"
if [ "${1:-}" = --delete ]; then
  delete
  exit
fi
: "${IMAGE:?give the image by its digest: IMAGE=registry/name@sha256:...}"

account=$(aws sts get-caller-identity --query Account --output text)
say "account $account, region ${AWS_REGION:-of the profile}, image $IMAGE"
./synth.sh cdk.out >/dev/null
sed -e "s|ghcr.io/example/prisma-migrate-task@sha256:0*|$IMAGE|" -e "s|\"ARM64\"|\"$architecture\"|" cdk.out/newsroom/newsroom.template.json >"$work/template.json"
# CloudFormation takes templates above 51,200 bytes from S3 alone.
upload=$stack-$account
aws s3 mb "s3://$upload" >/dev/null
trap 'aws s3 rb --force "s3://$upload" >/dev/null; rm -rf "$work"' EXIT

say "1  creating the stack with an empty bucket (RDS takes 15 minutes)"
deploy 1 || { say "NOT OK  the stack is created: see its events, then $0 --delete"; exit 1; }
say 'ok      the stack is created'
check 'the gate says: no artifact yet' reason 'no artifact yet'
say '2  a migration that applies'
upload_history 'CREATE TABLE article (id int);'
check 'the update succeeds' deploy 2
say '3  a migration that fails'
upload_history 'CREATE TABLE article (id int);' 'ALTER TABLE artcle ADD COLUMN slug text;'
if deploy 3; then say 'NOT OK  the update succeeds'; else say 'ok      the update fails'; fi
check 'with the reason of PostgreSQL' reason '42P01'
check 'and rolls back without migrating' reason 'a stack that rolls back migrates nothing'
say '4  the mended one'
upload_history 'CREATE TABLE article (id int);' 'ALTER TABLE article ADD COLUMN slug text;'
check 'the update succeeds' deploy 4
say '5  the state machine, by hand'
machine=$(aws cloudformation describe-stack-resources --stack-name "$stack" --query "StackResources[?ResourceType=='AWS::StepFunctions::StateMachine'].PhysicalResourceId | [0]" --output text)
execution=$(aws stepfunctions start-execution --state-machine-arn "$machine" --query executionArn --output text)
status=RUNNING
for _ in $(seq 60); do
  status=$(aws stepfunctions describe-execution --execution-arn "$execution" --query status --output text)
  [ "$status" = RUNNING ] || break
  [ -n "${ENDPOINT:-}" ] && break
  sleep 10
done
check "it succeeds (it is $status)" [ "$status" = SUCCEEDED ]
{
  echo 'events:'
  aws cloudformation describe-stack-events --stack-name "$stack" --output text --query 'StackEvents[].[Timestamp, LogicalResourceId, ResourceStatus, ResourceStatusReason]'
  echo 'stopped tasks:'
  cluster=$(aws cloudformation describe-stacks --stack-name "$stack" --output text --query "Stacks[0].Outputs[?OutputKey=='MigrateCluster'].OutputValue | [0]")
  for task in $(aws ecs list-tasks --cluster "$cluster" --desired-status STOPPED --query 'taskArns[]' --output text); do
    aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[].{task: taskArn, stopCode: stopCode, reason: stoppedReason, containers: containers[].{name: name, exitCode: exitCode, reason: reason}}'
  done
} >>"$report" 2>&1 || true
say '6  tearing down'
delete
say "done: send back $report"
