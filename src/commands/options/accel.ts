/** `-accel A`, and `-machine TYPE,accel=A`. */
import { type AccelWish, accelerators } from '../../accel/choose.js';
import { VmError } from '../../base/errors.js';
import { asksForHelp, listOf } from '../../words/named.js';

export const accelHelp = (text: string) =>
  asksForHelp(text) ? listOf('Accelerators:', accelerators) : undefined;

export function accelerator(text: string): AccelWish {
  if (isAccelerator(text)) return text;
  throw new VmError(
    `'${text}' is not an accelerator of colo; it has ${Object.keys(accelerators).join(', ')}`,
    { hint: text === 'tcg' ? 'The software CPU is called soft.' : undefined },
  );
}

const isAccelerator = (text: string): text is AccelWish => Object.hasOwn(accelerators, text);
