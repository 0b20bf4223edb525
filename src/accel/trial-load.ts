/**
 * KVM has reasons of its own to refuse a vCPU's state: this processor, this kernel. A secondary has
 * to know before it says that it holds an epoch, since nothing may fail after that. So the check of
 * an image on KVM loads it, into a vCPU that stands still, and puts back what was there.
 */
import { asVmError } from '../base/errors.js';
import type { StateBlob } from './contract.js';

export function withTrialLoad(blob: StateBlob): StateBlob {
  return {
    save: () => blob.save(),
    load: data => blob.load(data),
    check: data => blob.check(data) ?? refusal(blob, data),
  };
}

function refusal(blob: StateBlob, data: Uint8Array): string | undefined {
  const before = blob.save();
  try {
    blob.load(data);
    return undefined;
  } catch (error) {
    return asVmError(error).message;
  } finally {
    blob.load(before);
  }
}
