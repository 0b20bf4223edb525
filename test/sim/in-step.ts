/** A simulated pair in step, with no person there, for specs about what follows. */
import { SimArbiterStore } from '../support/sim/arbiter.js';
import type { SimNode } from '../support/sim/node.js';
import type { Scenario } from './misfortunes.js';
import { Pair } from './pair.js';

/** store: of its arbiter, if it has one. */
export async function inStep(
  seed: number,
  arbitrated = true,
): Promise<{ p: Pair; store: SimArbiterStore | undefined }> {
  const made: { store?: SimArbiterStore } = {};
  const arbiter = (node: SimNode) =>
    (made.store ??= new SimArbiterStore(node.world)).open(node, 40);
  const p = await Pair.create({ seed, misfortunes: [] }, arbitrated ? { arbiter } : {});
  p.later = () => undefined;
  void p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.protect());
  await p.world.run(300);
  return { p, store: made.store };
}

/** The same with a fence agent, so with a record for each side: that of a store for each. */
export async function inStepByAgents(
  seed: number,
): Promise<{ p: Pair; stores: ReadonlyMap<string, SimArbiterStore> }> {
  const stores = new Map<string, SimArbiterStore>();
  const arbiter = (node: SimNode) => {
    const store = stores.get(node.name) ?? new SimArbiterStore(node.world);
    // An epoch goes by while it is written.
    store.delayMs = [10, 20];
    stores.set(node.name, store);
    return Object.assign(store.open(node, 100), { keeps: 'own' as const });
  };
  const p = await Pair.create({ seed, misfortunes: [] }, { arbiter });
  p.later = () => undefined;
  void p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.protect());
  await p.world.run(600);
  return { p, stores };
}

/** A person's, by the commands of the series: no arbiter. */
export async function protectedPair(scenario: Partial<Scenario> = {}): Promise<Pair> {
  const p = await Pair.create({ seed: 3, misfortunes: [], ...scenario });
  p.later = () => undefined;
  void p.primary.start();
  await p.secondary.listenForPrimary();
  await p.world.play(p.primary.attachReplicas());
  await p.primary.migrate();
  await p.world.run(200);
  return p;
}

export const states = ({ primary, secondary }: Pair) => [
  primary.colo.info().state,
  secondary.colo.info().state,
];
