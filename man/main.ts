/** `npm run man`: writes the generated pages beside this file. colo.7 is written by hand. */
import { writeFileSync } from 'node:fs';
import { pages } from './pages.js';

for (const page of pages()) writeFileSync(new URL(page.file, import.meta.url), page.text);
