export const pose = () => ({ element: document.createElement('div'), value: () => null, fill: () => {} });
