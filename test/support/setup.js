// oclif captures stdout; jest's console would put its own frames into it.
import nodeConsole from 'node:console';
import { jest } from '@jest/globals';

globalThis.console = nodeConsole;
globalThis.jest = jest;

// `npm run test:mutants`: a deliberate fault, before any module that has it is used.
const { COLO_MUTANT: mutant } = process.env;
if (mutant) (await import('../../src/base/mutant.js')).breakRule(mutant);
