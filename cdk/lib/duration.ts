/** The units that the program takes (humantime's, whole seconds and longer), in seconds. */
const UNITS: Readonly<Record<string, number>> = Object.fromEntries(
  ([
    [1, 's sec secs second seconds'],
    [60, 'm min mins minute minutes'],
    [3600, 'h hr hrs hour hours'],
    [86_400, 'd day days'],
  ] as const).flatMap(([length, names]) => names.split(' ').map((name) => [name, length])),
);

/** A duration such as `90s`, `20m` or `1h 30m` in seconds; undefined if it is none. */
export function seconds(text: string): number | undefined {
  if (!/^\s*(\d+\s*[a-z]+\s*)+$/.test(text)) return undefined;
  let sum = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)\s*([a-z]+)/g)) {
    const length = UNITS[unit!];
    if (length === undefined) return undefined;
    sum += Number(count) * length;
  }
  return sum;
}
