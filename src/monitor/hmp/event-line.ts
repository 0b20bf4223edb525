/** An event in one line for people: `[COLO_EXIT mode=primary reason=error]`. */
export function eventLine(name: string, data: object): string {
  const words = Object.entries(data as Record<string, unknown>).map(
    ([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return `[${[name, ...words].join(' ')}]\n`;
}
