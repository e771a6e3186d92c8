// Fetches the table anew every two seconds; a hub that does not answer is said.

const table = document.getElementById('branches');

setInterval(async () => {
  if (document.hidden) return;
  const open = new Set([...table.querySelectorAll('details[open]')].map(details => details.dataset.branch));
  try {
    const answer = await fetch('./?fragment=1');
    if (!answer.ok) throw new Error(`${answer.status}`);
    table.innerHTML = await answer.text();
    for (const details of table.querySelectorAll('details')) details.open = open.has(details.dataset.branch);
  } catch {
    document.getElementById('state').textContent = 'the hub does not answer';
  }
}, 2000);
