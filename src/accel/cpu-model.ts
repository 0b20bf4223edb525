/**
 * `-cpu` and `-smp` to the processor that a guest sees: resolved, and checked against what the
 * backend can give, before there is a VM.
 */
import { assert, VmError } from '../base/errors.js';
import { type CpuOffer, vmModule } from './addon.js';
import type { AccelName } from './choose.js';
import type { CpuModel, Topology } from './contract.js';
import { featureOf, features, hasFeature, isAlwaysOn, withFeature } from './cpu-features.js';

/** `-cpu MODEL,+flag,-flag,flag=on|off` */
export interface CpuChoice {
  readonly model: string;
  readonly flags: readonly { readonly name: string; readonly on: boolean }[];
}

/** Each in a sentence, for people. */
export const cpuModels: Readonly<Record<string, string>> = {
  'soft-v1': 'what the software CPU has, and every host can give: the default',
  'soft-v2': 'x86-64-v2: the same with SSE3, SSSE3, SSE4.1, SSE4.2, POPCNT and MOVBE',
  qemu64: "QEMU's model of that name",
  host: "this host's processor, as far as a checkpoint carries it; KVM only",
  max: 'all that the accelerator has and a checkpoint carries',
};
export const defaultCpu: CpuChoice = { model: 'soft-v1', flags: [] };
export const oneCpu: Topology = { sockets: 1, cores: 1, threads: 1 };

/** What backends can give at most. Asked of the addon; tests say something else. */
export type Offers = (accel: AccelName) => CpuOffer;
const addonOffers: Offers = accel => vmModule().cpuModel(accel);

/**
 * Throws VmError: no such model or flag, one that a checkpoint cannot carry, or one that this host
 * does not have.
 */
export function resolveCpu(
  choice: CpuChoice,
  accel: AccelName,
  topology: Topology = oneCpu,
  offers: Offers = addonOffers,
): CpuModel {
  const option = `-cpu ${choice.model}`;
  const can = offers(accel);
  const most = mostOf(can);
  const base = baseModel(choice.model, accel, can, offers('soft'));
  let words = base.features;
  for (const { name, on } of choice.flags) {
    const feature = featureOf(name);
    if (typeof feature === 'string') throw new VmError(`-cpu: ${feature}`);
    if (!on && isAlwaysOn(feature))
      throw new VmError(
        `-cpu: ${feature.name} cannot be taken away: a guest keeps its time by kvmclock, ` +
          'which goes on after a failover',
      );
    words = withFeature(words, feature, on);
  }
  const missing = features.find(
    feature => hasFeature(words, feature) && !hasFeature(most, feature),
  );
  if (missing) {
    const who = accel === 'soft' ? 'the software CPU on this host' : "this host's KVM";
    throw new VmError(`${option}: ${who} does not have ${missing.name}`, {
      hint:
        `Take it away with -cpu ${choice.model},-${missing.name}, on both sides of a pair; or ` +
        'take another model.',
    });
  }
  return { ...bare(base), features: words, ...topology };
}

const mostOf = (offer: CpuOffer) => offer.most ?? offer.features;
const bare = ({ name, vendor, signature, brand, features: words }: CpuOffer) => ({
  name,
  vendor,
  signature,
  brand,
  features: words,
});

/** `+name` and `-name`, of names that are in the table. */
function changed(words: readonly number[], ...names: readonly string[]): readonly number[] {
  return names.reduce((all, name) => {
    const feature = features.find(known => known.name === name.slice(1));
    assert(feature !== undefined, `no feature ${name.slice(1)}`);
    return withFeature(all, feature, name.startsWith('+'));
  }, words);
}

function baseModel(name: string, accel: AccelName, can: CpuOffer, baseline: CpuOffer): CpuOffer {
  switch (name) {
    case 'soft-v1':
      return baseline;
    case 'soft-v2':
      return {
        ...baseline,
        name,
        brand: 'colo software CPU (soft-v2)',
        features: changed(
          baseline.features,
          '+pni',
          '+ssse3',
          '+sse4.1',
          '+sse4.2',
          '+popcnt',
          '+movbe',
        ),
      };
    case 'qemu64':
      return {
        ...baseline,
        name,
        brand: 'QEMU Virtual CPU version 2.5+',
        features: changed(baseline.features, '+pni', '-mmxext', '-tsc-adjust'),
      };
    case 'host':
      if (accel === 'soft')
        throw new VmError("-cpu host: the software CPU does not show the host's processor", {
          hint: 'Leave -cpu out, or use -accel kvm.',
        });
      return { ...can, features: carriedOf(can, baseline) };
    case 'max':
      return accel === 'soft'
        ? { ...baseline, name, features: mostOf(can) }
        : { ...can, name, features: carriedOf(can, baseline) };
    default:
      throw new VmError(
        `-cpu: '${name}' is not a CPU model of colo; it has ${Object.keys(cpuModels).join(', ')}`,
      );
  }
}

/** The baseline, and all of the host's that a checkpoint carries. */
function carriedOf(can: CpuOffer, baseline: CpuOffer): readonly number[] {
  return features.reduce(
    (words, feature) =>
      hasFeature(can.features, feature) ? withFeature(words, feature, true) : words,
    baseline.features as number[],
  );
}

/** Without -cpu and -smp; not checked. */
export function plainCpu(): CpuModel {
  return { ...bare(addonOffers('soft')), ...oneCpu };
}
