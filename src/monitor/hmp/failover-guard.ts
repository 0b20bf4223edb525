/**
 * The failover as a person types it at a prompt. Where it cannot be known whether the other side
 * still runs, it is carried out when the same line comes twice in a row.
 */
export type FailoverGuard = (line: string) => Promise<string | undefined>;

/** doubt: what speaks against it now. The guard gives what to print instead of running the line. */
export function failoverGuard(doubt: () => Promise<string | undefined>): FailoverGuard {
  let asked = false;
  return async line => {
    const again = asked;
    asked = false;
    if (line.trim() !== 'x_colo_lost_heartbeat' || again) return undefined;
    const text = await doubt();
    if (text === undefined) return undefined;
    asked = true;
    return `${text}\nIf this is meant: enter the same line again.\n`;
  };
}
