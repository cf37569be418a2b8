import { Stack } from 'aws-cdk-lib';
import { CfnVPCEndpoint, GatewayVpcEndpointAwsService, InterfaceVpcEndpointAwsService, type IVpc, type SelectedSubnets, Vpc } from 'aws-cdk-lib/aws-ec2';
import type { Construct } from 'constructs';

/**
 * What a task in subnets without a way out needs an endpoint for, by the last part of the service's name.
 *
 * Sources: https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html ("Considerations for Amazon ECR VPC endpoints": ecr.api, ecr.dkr, the
 * gateway of S3, and logs with the awslogs driver), https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html (secretsmanager, ssm).
 * An IAM token is signed without asking anybody.
 */
export type EndpointService = 's3' | 'ecr.api' | 'ecr.dkr' | 'logs' | 'secretsmanager' | 'ssm';

const INTERFACES: Readonly<Record<Exclude<EndpointService, 's3'>, InterfaceVpcEndpointAwsService>> = {
  'ecr.api': InterfaceVpcEndpointAwsService.ECR,
  'ecr.dkr': InterfaceVpcEndpointAwsService.ECR_DOCKER,
  logs: InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
  secretsmanager: InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
  ssm: InterfaceVpcEndpointAwsService.SSM,
};

/** Whether nothing leads out of these subnets. Of a VPC that is imported nobody knows what endpoints it has, so that nothing is said of it. */
export function isIsolated(vpc: IVpc, { subnetIds }: SelectedSubnets): vpc is Vpc {
  const isolated = new Set(vpc.isolatedSubnets.map(({ subnetId }) => subnetId));
  return vpc instanceof Vpc && subnetIds.some((id) => isolated.has(id));
}

/** Those of the services that this VPC has no endpoint for, anywhere in the app. */
export function missingEndpoints(scope: Construct, vpc: IVpc, needed: readonly EndpointService[]): EndpointService[] {
  const text = (value: unknown) => JSON.stringify(Stack.of(vpc).resolve(value));
  const own = scope.node.root.node.findAll().filter((one): one is CfnVPCEndpoint => one instanceof CfnVPCEndpoint && text(one.vpcId).includes(text(vpc.vpcId)));
  const names = own.map(({ serviceName }) => text(serviceName));
  return needed.filter((service) => !names.some((name) => name.includes(`.${service}"`)));
}

/** Adds them. */
export function addEndpoints(vpc: IVpc, services: readonly EndpointService[], subnets: SelectedSubnets): void {
  for (const service of services) {
    const id = `PrismaMigrate-${service}`;
    if (service === 's3') vpc.addGatewayEndpoint(id, { service: GatewayVpcEndpointAwsService.S3 });
    else vpc.addInterfaceEndpoint(id, { service: INTERFACES[service], subnets: { subnets: subnets.subnets } });
  }
}
