import { Token } from 'aws-cdk-lib';
import type { IRepository } from 'aws-cdk-lib/aws-ecr';
import { ContainerImage } from 'aws-cdk-lib/aws-ecs';
import { Refusal } from './refusal.js';

/** The container image, always pinned by its digest: a tag can be moved under a task definition that nobody has touched. */
export type MigrateImage =
  | {
      /** A repository in ECR. The task's execution role may pull from it. */
      readonly repository: IRepository;
      /** `sha256:` and 64 hexadecimal digits. */
      readonly digest: string;
    }
  | {
      /** An image in a registry that needs no password, with its digest: `ghcr.io/owner/name@sha256:…`. */
      readonly reference: string;
    };

const DIGEST = /^sha256:[0-9a-f]{64}$/;

export function containerImage(construct: string, image: MigrateImage): ContainerImage {
  if ('repository' in image) {
    if (!Token.isUnresolved(image.digest) && !DIGEST.test(image.digest)) {
      throw new Refusal(construct, `image.digest is "${image.digest}": give "sha256:" and 64 hexadecimal digits, a tag can be moved.`);
    }
    return ContainerImage.fromEcrRepository(image.repository, image.digest);
  }
  const digest = image.reference.split('@')[1] ?? '';
  if (!DIGEST.test(digest)) {
    throw new Refusal(construct, `image.reference "${image.reference}" is not pinned: end it with "@sha256:" and 64 hexadecimal digits.`);
  }
  if (/\.dkr\.ecr\./.test(image.reference)) {
    throw new Refusal(construct, 'image.reference lies in ECR, which needs the right to pull: give image.repository and image.digest instead.');
  }
  return ContainerImage.fromRegistry(image.reference);
}
