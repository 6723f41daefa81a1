export const map = () => ({ element: document.createElement('div'), value: () => null, fill: () => {} });
