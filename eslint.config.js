import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/**
 * The world enters through src/host: elsewhere these would hide a dependency on time, chance, files
 * or the network from the simulation.
 */
const world = {
  'no-restricted-imports': [
    'error',
    {
      paths: [
        'fs',
        'net',
        'dgram',
        'tls',
        'http',
        'https',
        'child_process',
        'worker_threads',
        'timers',
        'timers/promises',
        'fs/promises',
        'dns',
        'os',
      ]
        .flatMap(name => [name, `node:${name}`])
        .map(name => ({ name, message: 'Take it from src/host/ports.ts by constructor.' })),
    },
  ],
  'no-restricted-globals': [
    'error',
    ...['setTimeout', 'setInterval', 'setImmediate', 'fetch', 'performance'].map(name => ({
      name,
      message: 'Use the injected Clock.',
    })),
  ],
  'no-restricted-properties': [
    'error',
    { object: 'Date', property: 'now', message: 'Use Clock.wallMs().' },
    { object: 'Math', property: 'random', message: 'Use Entropy.' },
    { object: 'crypto', property: 'randomBytes', message: 'Use Entropy.' },
    { object: 'crypto', property: 'randomUUID', message: 'Use Entropy.' },
    { object: 'process', property: 'hrtime', message: 'Use Clock.nowMs().' },
  ],
};

export default tseslint.config(
  { ignores: ['build/', 'dist/', 'node_modules/', 'native/', 'coverage/', '.cache/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    languageOptions: {
      parserOptions: { project: './tsconfig.test.json', tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      '@typescript-eslint/consistent-type-imports': [
        'error',
        { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false },
      ],
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_' },
      ],
      '@typescript-eslint/only-throw-error': [
        'error',
        { allowThrowingUnknown: true, allowThrowingAny: false },
      ],
      '@typescript-eslint/prefer-promise-reject-errors': [
        'error',
        { allowThrowingUnknown: true, allowThrowingAny: true },
      ],
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/no-this-alias': [
        'error',
        { allowDestructuring: true, allowedNames: ['tree'] },
      ],
      'preserve-caught-error': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-empty-function': 'off',
      'no-restricted-exports': [
        'error',
        {
          restrictDefaultExports: {
            direct: true,
            named: true,
            defaultFrom: true,
            namedFrom: true,
            namespaceFrom: true,
          },
        },
      ],
      'no-control-regex': 'off',
      eqeqeq: 'error',
      'prefer-const': 'error',
    },
  },
  { files: ['src/**/*.ts'], ignores: ['src/host/node/**', 'src/commands/**'], rules: world },
  {
    files: ['src/accel/addon.ts', 'src/host/node/addon.ts'],
    rules: { '@typescript-eslint/no-unsafe-call': 'off' },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/restrict-plus-operands': 'off',
      '@typescript-eslint/no-unnecessary-type-assertion': 'off',
      '@typescript-eslint/switch-exhaustiveness-check': 'off',
    },
  },
  {
    files: ['**/*.js'],
    languageOptions: {
      globals: Object.fromEntries(
        ['process', 'console', 'Buffer', 'URL', 'setTimeout', 'clearTimeout', 'globalThis'].map(
          name => [name, 'readonly'],
        ),
      ),
    },
  },
);
