/** The arbiter of a pair definition, as -arbiter takes it, without the names of the sides. */
import { parseArbiterAddress } from '../../arbiter/address.js';
import { asVmError } from '../../base/errors.js';
import { type Kind, mistake, nonEmpty } from './fields.js';

const text = nonEmpty('an arbiter');

export const arbiterKind: Kind<string> = {
  form: text.form,
  parse(place) {
    const given = text.parse(place);
    try {
      parseArbiterAddress(given);
      return given;
    } catch (error) {
      const { message, options } = asVmError(error);
      throw mistake(place, message, options.hint);
    }
  },
};
