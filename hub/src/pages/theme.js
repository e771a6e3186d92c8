// Light, dark, or as the system has it. Runs before the page is painted.

(() => {
  const KEY = 'branchline.theme', NEXT = { auto: 'light', light: 'dark', dark: 'auto' };
  const stored = () => {
    try {
      return localStorage.getItem(KEY) ?? 'auto';
    } catch {
      return 'auto';
    }
  };
  let theme = stored() in NEXT ? stored() : 'auto';
  const show = () => {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById('theme');
    if (button) button.textContent = { auto: '◐ Auto', light: '☀ Light', dark: '☾ Dark' }[theme];
    // What is drawn with the colours of the page is drawn anew.
    dispatchEvent(new Event('theme'));
  };
  show();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => dispatchEvent(new Event('theme')));
  addEventListener('DOMContentLoaded', () => {
    show();
    document.getElementById('theme').addEventListener('click', () => {
      theme = NEXT[theme];
      try {
        localStorage.setItem(KEY, theme);
      } catch {
        // Then it holds for this page only.
      }
      show();
    });
  });
})();
