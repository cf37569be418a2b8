#!/bin/sh
# Starts the migration task with the AWS CLI alone, waits for its end however long that takes, and exits with its exit code: 80 where it never started,
# 81 where nothing tells what came of it. `aws ecs wait tasks-stopped` gives up after ten minutes, and RunTask answers 200 where it has started nothing.
#
#   CLUSTER=newsroom TASK_DEFINITION=newsroom-migrate SUBNETS=subnet-0a,subnet-0b SECURITY_GROUPS=sg-0a aws-cli.sh [VERB FLAG…]
#
# It needs ecs:RunTask, iam:PassRole on the task's two roles and ecs:DescribeTasks; with LOG_GROUP, logs:GetLogEvents.
set -eu
: "${CLUSTER:?the ECS cluster}" "${TASK_DEFINITION:?the family of the task definition}"
: "${SUBNETS:?the subnets, with commas between}" "${SECURITY_GROUPS:?the security groups, with commas between}"
container=${CONTAINER:-migrate}

# The words as JSON: a backslash, a quotation mark, a tab or a line's end in them (SQL has some) is one in the task too.
words=
for word in "$@"; do
  word=$(printf '%s\n' "$word" | sed 's/\\/\\\\/g; s/"/\\"/g; s/\t/\\t/g' | awk 'NR > 1 { printf "%s", "\\n" } { printf "%s", $0 }')
  words="$words${words:+,}\"$word\""
done
overrides="{\"containerOverrides\":[{\"name\":\"$container\"${words:+,\"command\":[$words]}}]}"

# The token makes a request that the CLI repeats start one task.
started=$(aws ecs run-task --cluster "$CLUSTER" --task-definition "$TASK_DEFINITION" --launch-type FARGATE --count 1 \
  --client-token "aws-cli-$(date +%s)-$$" --overrides "$overrides" \
  --network-configuration "awsvpcConfiguration={subnets=[$SUBNETS],securityGroups=[$SECURITY_GROUPS],assignPublicIp=${ASSIGN_PUBLIC_IP:-DISABLED}}" \
  --output text --query '[tasks[0].taskArn, failures[0].reason, failures[0].detail]')
task=$(printf '%s' "$started" | cut -f 1)
if [ "$task" = None ]; then
  echo "ECS started no task: $(printf '%s' "$started" | cut -f 2-)" >&2
  exit 80
fi
echo "started $task" >&2

# A look that fails is no news of the task: only many in a row end the wait.
missed=0
while :; do
  state=$(aws ecs describe-tasks --cluster "$CLUSTER" --tasks "$task" --output text --query \
    "tasks[0].[lastStatus, startedAt, containers[?name=='$container'].exitCode | [0], stopCode, stoppedReason, containers[?name=='$container'].reason | [0]]") || state=
  case $state in
    STOPPED*) break ;;
    "" | None*) missed=$((missed + 1)) ;;
    *) missed=0 ;;
  esac
  if [ "$missed" -ge 60 ]; then
    echo "nothing is known of $task any more; it may go on" >&2
    exit 81
  fi
  sleep "${POLL_SECONDS:-5}"
done

# The last line is the outcome.
if [ -n "${LOG_GROUP:-}" ]; then
  aws logs get-log-events --log-group-name "$LOG_GROUP" --log-stream-name "${LOG_STREAM_PREFIX:-migrate}/$container/${task##*/}" --limit 50 \
    --output json --query 'events[].message' || echo "the log could not be read" >&2
fi
code=$(printf '%s' "$state" | cut -f 3)
reasons=$(printf '%s' "$state" | cut -f 4-)
case $code in
  None)
    echo "the task has no exit code: $reasons" >&2
    if [ "$(printf '%s' "$state" | cut -f 2)" = None ]; then exit 80; else exit 81; fi
    ;;
  *)
    if [ "$code" -ne 0 ]; then echo "exit code $code: $reasons" >&2; fi
    exit "$code"
    ;;
esac
