// oclif captures stdout; jest's console would put its own frames into it.
import nodeConsole from 'node:console';
import { jest } from '@jest/globals';

globalThis.console = nodeConsole;
globalThis.jest = jest;
