/** A combination of props that cannot be meant. It is thrown while the app is synthesized, so that nothing wrong is ever deployed. */
export class Refusal extends Error {
  constructor(construct: string, sentence: string) {
    super(`${construct}: ${sentence}`);
    this.name = 'Refusal';
  }
}
